"""What Streamlit runs: `streamlit run run_page.py -- FILE`.

The processes that SQL runs in import the main script again. So it imports nothing but as the main script.
"""

if __name__ == "__main__":
    import sys
    from pathlib import Path

    from foretable.ui.page import main

    main(Path(sys.argv[1]))
