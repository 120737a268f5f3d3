"""`python -m likelax`, and the `likelax` command."""

import sys


def main() -> None:
    """Run the command line, or say in one sentence what is not installed."""
    try:
        from likelax.cli import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("likelax"):
            raise
        sys.exit(f"likelax: the command line needs {error.name}: pip install 'likelax[cli,plots]'")
    app()


if __name__ == "__main__":
    main()
