"""What a run leaves, read and reported: one class reads run folders; groups, metrics and statistics; figures and page.

`metrics.py` and `report.py` are command lines over this room. It imports no other room and loads no torch.
"""
