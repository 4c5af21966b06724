"""The live view: one hub a process tails the trail by `seq`; sockets and event streams are cursors into it."""
