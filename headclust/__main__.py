"""`python -m headclust`."""

from headclust.cli import main

if __name__ == "__main__":
    main()
