"""People, what they may do, their tokens, and how the console looks to them.

| module | holds |
|---|---|
| `words` | what each permission and each role is, in words. PURE |
| `zones` | the time zone in which a page shows times. PURE |
| `users` | what an administrator does to an account: roles, switched off or on, a new password, its sessions ended |
| `profiles` | theme, density, time zone and keys, by person |
| `listing` | users and tokens by the page |
| `forms` | what a person fills in |
| `user_views`, `token_views`, `profile_views` | the pages |
"""
