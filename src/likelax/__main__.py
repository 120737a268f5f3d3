"""`python -m likelax`, and the `likelax` command."""

import os
import signal
import socket
import sys
import threading

INTERRUPTED = 130  # as shells number it: 128 and the number of the signal


def end_when_interrupted() -> None:
    """End the process with one line and the code 130 at Ctrl-C, also inside a compiled program.

    Python runs its own handler only between two of its instructions, and a compiled program can take
    minutes. A thread that waits for the signal does not have to wait for the program.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # a shell ignores it for what runs in the background
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    # the thread holds the writer, which would be closed at the end of this function
    threading.Thread(target=_wait, args=(reader, writer), daemon=True).start()


def _wait(reader: socket.socket, _writer: socket.socket) -> None:
    while reader.recv(1) != bytes([signal.SIGINT]):
        pass
    shown = "\x1b[?25h\n" if os.isatty(2) else ""  # a bar of progress hides the cursor
    os.write(2, f"{shown}likelax: interrupted\n".encode())
    os._exit(INTERRUPTED)


def main() -> None:
    """Run the command line, or say in one sentence what is not installed."""
    end_when_interrupted()
    try:
        from likelax.cli import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("likelax"):
            raise
        sys.exit(f"likelax: the command line needs {error.name}: pip install 'likelax[cli,plots]'")
    app()


if __name__ == "__main__":
    main()
