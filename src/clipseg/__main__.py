"""`python -m clipseg` is the command `clipseg`."""

from clipseg.cli.main import run

if __name__ == "__main__":
    run()
