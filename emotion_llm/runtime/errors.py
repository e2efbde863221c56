"""The one error that a user can mend.

a wrong file, value or setting  ->  one line that names the place, the value and the remedy
"""


class UserError(Exception):
    """Something the user can put right: the launch scripts print its message alone and exit with status 2.

    The message names the thing, the value found and the remedy. Any other exception is a defect of
    ours and keeps its traceback.
    """
