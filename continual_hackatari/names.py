"""Words that several rooms need, which may not import each other."""

UNMODIFIED = "no_modif"
"""what people and files call the unmodified game; as a modification string it is also \"\""""
