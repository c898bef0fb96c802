<?php
/** The release's version, where deployment tools read it. The build inserts the version. */

define("BAIKAL_VERSION", "@VERSION@");
