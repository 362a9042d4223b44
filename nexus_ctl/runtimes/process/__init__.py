"""The process runtime: each replica is a directory, and a small supervisor while it runs.

    <state_dir>/replicas/<name>/
      record.json      what it is: owner labels, launch specification, limits; no secret, ever   (written by create)
      alive            locked by the supervisor for its life; the lock, not a pid, says "running"
      run.json         address, engine pid, start time, cores of the latest run                  (supervisor)
      exit.json        how the latest run ended                                                  (supervisor)
      grace            seconds that stop allows, read when SIGTERM comes                         (written by stop)
      log.<offset>     output of the engine, named by the number of bytes before it              (supervisor)
      supervisor.err   only when the supervisor itself had something to say

A replica is made under a dotted name and renamed into place, and renamed to a dotted name before its files go: it is
there whole or not at all, whenever anybody is killed. `state` follows from what is there:

    alive locked                       running
    no lock, run.json and exit.json    exited
    no lock, run.json alone            exited (137): supervisor or machine died; the kernel ended the engine with it
    no lock, no run.json               created (with exit.json: the last start was refused)
    no readable record.json            dead, and not ours
"""
