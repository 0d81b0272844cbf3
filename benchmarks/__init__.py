"""What this project costs and what its agents learn, measured: a command each, `python -m benchmarks.<name>`.

    speed, memory   environment training clear evaluations shrinking switches limits memory replay watching
                    cost_of_methods
    learning        methods hindsight precision starts replacements floor one_action
    results         published suite_results
    checks          same_results soak

Each says in its `--help` what it measures and how. Most compare contestants in turn, in one run, by the medians of
several rounds, and write JSON and a chart to benchmarks/results/. Peers come with `pip install -e ".[bench]"`; one that
is missing is a row that says so.
"""
