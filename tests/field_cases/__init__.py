"""What other people's files, machines and habits do to galaxy10: one test for each case that users of such tools met.

A test here names its case in its docstring and hands what galaxy10 says now to `says`, which
`python -m tests.field_cases` prints as docs/field_cases.md.
"""
