"""proxyaudit: did synthetic training remove a sensitive feature from a model, or merely hide it?"""
