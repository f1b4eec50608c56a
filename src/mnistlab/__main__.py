"""`python -m mnistlab` and the console script: run a command, turn errors into exit codes."""

# not `signal`, which takes longer to import than all else here
import _signal  # type: ignore[import-not-found]
import gc
import os
import sys


def main() -> None:
    """Run the command line; never returns. No traceback reaches the user without --debug."""
    # until `end_on_signals`: an end without a traceback
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from mnistlab.cli.output import Lasting
    from mnistlab.cli.signals import end_on_signals, ignore_signals

    # Importing torch makes a million objects that all stay: looking for garbage among them while
    # they are made finds nothing and costs a tenth of a second.
    gc.set_threshold(200_000)
    try:
        end_on_signals()
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # closed by the parent
                stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            elif hasattr(stream, "reconfigure"):
                # whatever the locale can not show is escaped instead of raising
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Lasting(stream))
        from mnistlab.cli.app import run

        code = run()
        ignore_signals()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as leaving:  # of a signal
        code = leaving.code if isinstance(leaving.code, int) else 1
    ignore_signals()
    code = _tell_failures(code)
    if "RANK" in os.environ:  # of several: threads of torch may wait for the others for ever
        os._exit(code)
    # There is no point in visiting each object of torch once more on the way out: 0.4 seconds.
    gc.freeze()
    sys.exit(code)


def _tell_failures(code: int) -> int:
    """Say that output could not be written; the exit code, 1 where that is all that failed."""
    for stream in (sys.stdout, sys.stderr):
        if error := getattr(stream, "failure", None):
            sys.stderr.write(f"error: cannot write the output: {error.strerror or error}\n")
            code = 1 if code in (0, 3) else code
    return code


if __name__ == "__main__":
    main()
