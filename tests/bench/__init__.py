"""`./inv bench`: how fast the deployed registry is beside other ways to serve the same one.

`contenders.py` says who is compared, `measures.py` what is measured, `run.py` in which order. All of
it, the load too, runs within one sandbox's server; see `tests/sandbox`.
"""
