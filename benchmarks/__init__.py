"""Speed, measured as ratios: this project and its peers in turn, in one run, medians of several rounds.

    python -m benchmarks.environment   games alone
    python -m benchmarks.training      whole training
    python -m benchmarks.switches      switches, start, leaks, memory

Each prints a table and writes JSON and a PNG bar chart to benchmarks/results/. Peers come with
`pip install -e ".[bench]"`; one that is missing is a row that says so.
"""
