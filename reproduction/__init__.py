"""The tables of this project: their rows, how these are trained, and how the finished runs become a table again."""
