"""The results of benchmark suites, from a run to a page, a module each: records, labels, results, tables, page.

Each uses only those before it. `python -m benchmarks.suite_results` is the command.
"""
