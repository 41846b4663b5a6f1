"""`python -m simulations`."""

import os
import sys

# Sums must not depend on how many cores there are, and small ones are slower on several threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

try:
    from simulations.cli import main
except KeyboardInterrupt:  # Ctrl-C while the libraries load
    sys.exit(130)

if __name__ == "__main__":
    main()
