"""Runs inside the sandbox: reads a program and its inputs from stdin and runs it as ``__main__``.

This file is passed to the interpreter as text and must import nothing of the project. The start of
each run counts, so modules are imported where they are needed: ``json`` alone costs a third of a
bare interpreter's start. The interpreter runs with -I -S, so that no ``.pth`` file is processed.

stdin holds one line ``<bytes of code> <bytes of inputs> <result file> <package directory>…``, the
fields but the numbers percent-encoded, then the code, then the inputs as JSON or nothing.
"""

import builtins
import io
import sys
import types

CODE_NAME = "<python_execute>"
OUTPUT_ERROR = "the variable 'output' cannot be given back as JSON: "


def read_program() -> "tuple[str, dict[str, object], str]":
    """The code, its inputs and the file for its result; makes the packages importable."""
    header, _, body = sys.stdin.buffer.read().partition(b"\n")
    code_bytes, _, result_file, *packages = header.decode().split(" ")
    sys.path[:0] = [""]
    sys.path += [decode(package) for package in packages]
    size = int(code_bytes)
    inputs: dict[str, object] = {}
    if body[size:]:
        import json

        inputs = json.loads(body[size:])
    return body[:size].decode(), inputs, decode(result_file)


def decode(field: str) -> str:
    """Undoes the percent-encoding, without importing what does that."""
    head, *rest = field.split("%")
    text = head + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
    return text.encode("latin-1").decode()


def run(code: str, inputs: "dict[str, object]", result_file: str) -> int:
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, inputs=inputs)
    sys.modules["__main__"] = main
    status = 0
    try:
        exec(compile(code, CODE_NAME, "exec"), main.__dict__)
    except SystemExit as leaving:
        status = exit_status(leaving.code)
    except BaseException as error:  # noqa: BLE001 - whatever the program raises ends it
        show(error, code)
        return 1
    if "output" in main.__dict__ and not save(main.__dict__["output"], result_file):
        status = status or 1
    return status


def exit_status(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def show(error: BaseException, code: str) -> None:
    """A traceback as of a script: the user's lines, without the frames of this file."""
    import linecache
    import traceback

    linecache.cache[CODE_NAME] = (len(code), None, code.splitlines(True), CODE_NAME)
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename != CODE_NAME:
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def save(output: object, result_file: str) -> bool:
    import json

    try:
        text = json.dumps(output, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        sys.stderr.write(f"{OUTPUT_ERROR}{error}\n")
        return False
    with open(result_file, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def leave(*code: object) -> None:
    """What ``exit`` and ``quit`` are outside of scripts; site, which defines them, is not run."""
    raise SystemExit(*code)


def main() -> None:
    sys.dont_write_bytecode = True
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")
    builtins.exit = builtins.quit = leave
    sys.exit(run(*read_program()))


main()
