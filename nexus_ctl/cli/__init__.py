"""The command line: one file per command in `commands/`, the composition root, and the only printer of errors.

    main.py        the program: runs a command, prints what went wrong, picks the exit code
    table.py       every command: name, module, one line of help. `--help` reads this and imports nothing else
    invocation.py  what a command gets from outside: words, workspace, terminal
    compose.py     the composition root: opens the real world of a stack
    options.py, inputs.py, carry.py, progress.py, interrupt.py, terminal.py   what several commands share, by noun

The rule: a command parses, calls one thing below, and shows a view. Whatever costs time to import is imported inside
the function that needs it.
"""
