"""The certificate: is it good, may one be ordered, order it, tell people when that fails."""
