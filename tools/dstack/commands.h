/* Every command of `dstack`, in the order `dstack help` shows them: one line each. */
CLI_COMMAND(measure)
CLI_COMMAND(image)
CLI_COMMAND(key)
CLI_COMMAND(completion)
CLI_COMMAND(help)
CLI_COMMAND(quote)
