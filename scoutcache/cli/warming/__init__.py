"""What ``warm`` is made of.

    options   their names, what they take, what help says
    asked     what was asked for, and what is wrong with that
    work      the filling itself
    predict   what is foreseen from the log
    told      how far it is, and how it went
"""
