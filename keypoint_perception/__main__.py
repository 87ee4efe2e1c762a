"""Run ``python -m keypoint_perception VERB``; the verbs are imported late, because of Ctrl-C."""

import signal


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; while Python imports or ends, Ctrl-C ends the process without a traceback."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from keypoint_perception.commands import program

    program.prepare_process()
    try:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        program.main(arguments)
    except KeyboardInterrupt:
        raise SystemExit(program.INTERRUPTED) from None
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == '__main__':
    main()
