@export()
type Tags = { *: string }

@export()
@description('Settings of the server by name, as in the README.')
type Settings = { *: string }
