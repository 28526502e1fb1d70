"""What scripts/report.py is made of: from the folders of runs to one page that shows what they learned."""
