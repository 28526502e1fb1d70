"""Fault campaigns: what happens to a run when processes are killed, files are damaged, disks fill, values are wrong.

python -m faults                 # the small version of every campaign, as in the tests
python -m faults --full          # as many trials as in faults/results.md

Every trial ends right or wrong; a campaign's wrong ones are listed.
"""
