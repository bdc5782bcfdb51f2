"""raytag: hyperparameter search and muTransfer for jet taggers.

Importing the package loads neither torch nor ray: everything heavy is imported by the command that needs it.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
