"""`tiny`: the program that the runtime contract runs. Words are carried out one after the other.

    lines N          print `line 0` ... `line N-1`          out TEXT, err TEXT   one line to stdout, stderr
    env NAME         print `NAME=value`                     show FILE            print the file's first line
    hog MIB          take that much memory and touch it     deaf                 ignore SIGTERM from here on
    exit CODE        end so                                 signal N             kill itself by that signal
    serve HOST PORT  answer every GET with 200; the body is `ok`, for `/env/NAME` the variable's value;
                     `/say/TEXT` prints TEXT first; ends with 0 on SIGTERM

The end of the words is exit 0. A container image may hold the same program in any language.
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def main(words: list[str]) -> int:  # one branch per word
    """Carries out the words; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    held: list[bytearray] = []
    rest = iter(words)
    for word in rest:
        match word:
            case "lines":
                for number in range(int(next(rest))):
                    say(f"line {number}")
            case "out":
                say(next(rest))
            case "err":
                os.write(2, next(rest).encode() + b"\n")
            case "env":
                name = next(rest)
                say(f"{name}={os.environ.get(name, '')}")
            case "show":
                with open(next(rest), encoding="utf-8") as file:
                    say(file.readline().rstrip("\n"))
            case "hog":
                held.append(bytearray(b"x") * (int(next(rest)) * 1024 * 1024))
            case "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "exit":
                return int(next(rest))
            case "signal":
                signal.raise_signal(int(next(rest)))
            case "serve":
                serve(next(rest), int(next(rest)))
            case _:
                say(f"tiny does not know {word!r}")
                return 2
    return 0


def say(line: str) -> None:
    """One whole line, at once."""
    os.write(1, line.encode() + b"\n")


def serve(host: str, port: int) -> None:
    """Answers for ever."""
    with socket.create_server((host, port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                _, path, *_ = [*connection.recv(4096).decode().split(" "), "", ""]
                body = b"ok"
                if path.startswith("/say/"):
                    say(path.removeprefix("/say/"))
                elif path.startswith("/env/"):
                    body = os.environ.get(path.removeprefix("/env/"), "").encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
