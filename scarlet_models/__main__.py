"""usage: python -m scarlet_models SCRIPT [ARGS]

Runs a Python script with the SCARLET networks registered in timm, for scripts that know nothing of them.

example:
  python -m scarlet_models train.py --model scarlet_a --data-dir imagenet
  torchrun --nproc-per-node 8 -m scarlet_models train.py --model scarlet_a --data-dir imagenet
"""

import runpy
import sys
from pathlib import Path


def main() -> int:
    """Run the script as if it had been started by itself; its exit status and tracebacks are its own."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    script = Path(arguments[0])
    if not script.is_file():
        print(f"python -m scarlet_models: no script {arguments[0]}; scarlet-models has the commands", file=sys.stderr)
        return 2
    sys.argv = arguments
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
