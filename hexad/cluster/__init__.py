"""`hexad cluster`: a cluster made, looked at, mended, grown, shrunk, balanced and restarted, of Hexad and Redis nodes.

What to do is decided by pure modules (`findings`, `mend`, `balance`, `layout`, `membership`, `restart`) from a
`Picture`: all that the nodes say now. No plan is ever kept: a run that was cut short is resumed by looking again and
planning anew, so every step leaves the cluster in a state from which the next plan leads to the same end.
"""
