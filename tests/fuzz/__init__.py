"""Hostile logs by the thousand: `python -m tests.fuzz --rounds 5000 --seed 1`.

A round writes a small valid log in one of the formats, breaks it (`mutate`), has it read by the macro `raw_table` and
cleaned by the compiled models (`reading`), and compares every row with what plain Python finds in the file (`oracle`).
"""
