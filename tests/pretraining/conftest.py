from tests.helpers.encoder_fixtures import encoder, layouts, make_corpus, motion, settings, two_corpora  # noqa: F401
