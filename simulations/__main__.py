"""`python -m simulations`."""

import sys

try:
    from simulations.cli import main
except KeyboardInterrupt:  # Ctrl-C while the libraries load
    sys.exit(130)

if __name__ == "__main__":
    main()
