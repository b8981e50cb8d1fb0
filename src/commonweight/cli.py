"""The command line: parse, call, print."""


def main() -> None:
    """Entry point; filled in below."""
