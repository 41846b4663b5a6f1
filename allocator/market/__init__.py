"""Who may spend what: budgets that flow down the queue tree, quotas, and the prices at which both agree."""
