"""Functions that run on the host itself. Standard library only.

`Host.call` carries one of these modules to a remote host, together with those that it imports, and
calls a function in it: arguments and result travel as JSON. On the server itself they are plain calls.
So a change of several files is one process on the machine that it concerns, and a lost connection
cannot stop it half way. Python 3.10 and later.
"""
