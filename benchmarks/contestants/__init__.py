"""What each contestant does when it is asked to, in a process of its own.

Each module here has a function `introduce`, which returns names and versions, and a table `JOBS`:
a job takes options, prepares everything and returns a function that does the work once.
"""
