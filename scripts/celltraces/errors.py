"""Define UserError, the exception for mistakes that the user can mend; its text is one line for the terminal."""


class UserError(Exception):
    """A mistake in a config, an input file or an environment that the user can mend.

    The message is one line that names the file, FOV or key and the remedy. It is shown as it is, without a
    traceback; every other exception is a defect of the workflow and keeps its traceback in the job's log.
    """
