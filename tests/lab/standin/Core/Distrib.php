<?php
/** The release's version, where deployment tools look for it. The build puts the version in. */

define("BAIKAL_VERSION", "@VERSION@");
