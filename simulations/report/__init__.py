"""What several replays say together, as one page that opens anywhere: who wins in what, by how much, how sure it is.

`results` reads folders, `variants` puts together what differs only in the seed, `verdict` says it in words; `sections`
chooses what is shown, `drawing` draws it, and `page` writes the document.
"""
