"""The machine itself, on the machine itself: files, locks, owners. Standard library only, as in every `onhost`.

`Host.call` carries a module of an `onhost` folder to a remote host, together with those that it imports, and
calls a function in it: arguments and result travel as JSON. On the server itself they are plain calls.
So a change of several files is one process on the machine that it concerns, and a lost connection
cannot stop it half way. Python 3.10 and later.
"""
