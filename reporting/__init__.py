"""What a report is made of: reading run folders, the numbers behind each figure, the figures, and the HTML page.

`report.py` puts these together with the metrics. Nothing here imports another room or a script.
"""
