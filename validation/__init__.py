"""What validate.py is made of: which networks are evaluated, on which ImageNet test set, and the table of results."""
