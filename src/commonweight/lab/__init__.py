"""The lab: a local page on which one builds a network, shares its weights, and watches it learn.

server     what the browser talks to: pages, one WebSocket, nothing that computes
guard      who may talk to it: token, Host, Origin, what a page may load
hub        who watches which job; slow viewers miss frames, late ones get the state
job        a worker process as the server sees it
worker     the process that trains
channel    how the two talk; frames: what numbers look like on the way
settings   what a person may set, with its limits
sessions   what a job does, a file for each view of the page

docs/lab_protocol.md describes the messages.
"""
