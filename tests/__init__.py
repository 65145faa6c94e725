"""The tests of nightscore.

OpenMP gets one thread in the tests' own process and in what they start. Two processes of tests and
their workers share the cores: threads of one small fit or prediction would only wait for each
other, and burn the time of all.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
