"""What every scheduler is judged by, whatever it decides with: from what ran, and from what was asked for, alone.

Worked out once, when a replay is over, from the log of runs (`runs.RunLog`) and the jobs. No optimum, no solver and no
price is part of it, so that a scheduler that has none is measured by the same yardstick.
"""
