"""All kernels, by name.

Only `machine_code` calls them, and caches what is compiled. A kernel is compiled for the types of
its first call, once per host. Loading a model calls the kernels that it will need: nothing is
compiled while a shard is scored under its limit of address space.

Machine code needs nothing of Python, because a kernel does not allocate memory (its scratch buffers
are arguments), does not raise, and returns nothing but an integer.
"""

from nightscore.native.linear_kernels import add_columns as add_columns
from nightscore.native.linear_kernels import add_known as add_known
from nightscore.native.linear_kernels import change_numbers as change_numbers
from nightscore.native.linear_kernels import fill_nulls as fill_nulls
from nightscore.native.link_kernels import exp as exp
from nightscore.native.link_kernels import expit as expit
from nightscore.native.link_kernels import log1p_exp as log1p_exp
from nightscore.native.link_kernels import sigmoid32 as sigmoid32
from nightscore.native.link_kernels import softmax as softmax
from nightscore.native.tree_kernels import order_column as order_column
from nightscore.native.tree_kernels import rank_column as rank_column
from nightscore.native.tree_kernels import sum_split as sum_split
from nightscore.native.tree_kernels import sum_walked as sum_walked
from nightscore.native.tree_kernels import take_codes as take_codes
from nightscore.native.wide_kernels import count_columns as count_columns
