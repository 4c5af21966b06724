"""`make demo`: agents that run by a script, for somebody who has no key for a provider.

A stand-in server (llmock) speaks both vendors' formats in this process and says what `script.json` has it say. All
else is real: the loop, the gate, the approvals, the budget, the trail. Every page says that this is a demo.
"""
