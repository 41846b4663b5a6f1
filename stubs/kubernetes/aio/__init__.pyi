# The few parts of the client library that are used here: the package says that it is typed, and mostly is not.
from . import client as client
from . import config as config
